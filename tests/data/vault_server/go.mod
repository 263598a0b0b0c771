module certwatch-test-vault

go 1.25

// Vault's module is not made to be required by others: the SDK of the same release must be named beside it, and what its
// own go.mod replaces.
require (
	github.com/hashicorp/vault v1.21.0
	github.com/hashicorp/vault/sdk v0.20.0
)

replace (
	github.com/99designs/keyring => github.com/Jeffail/keyring v1.2.3
	github.com/ma314smith/signedxml v1.1.1 => github.com/moov-io/signedxml v1.1.1
)
