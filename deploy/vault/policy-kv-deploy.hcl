# What the deployer vault-kv needs, here below web/ of the mount `secret`: a new version of what is there, and a note in its
# custom metadata while a roll-out is under way. It can neither make, list nor delete a secret.
path "secret/data/web/*" { capabilities = ["read", "patch"] }
path "secret/metadata/web/*" { capabilities = ["read", "patch"] }
path "secret/config" { capabilities = ["read"] }
