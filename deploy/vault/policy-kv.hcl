# What `kv` of the vault collector reads, here all of the mount `secret`: `vault policy write certwatch-kv policy-kv.hcl`, beside
# policy.hcl or without it. Version 2 first, then version 1. Narrow it down to the paths that the config names.
path "secret/metadata/*" { capabilities = ["list"] }
path "secret/data/*" { capabilities = ["read"] }
# path "kv/*" { capabilities = ["list", "read"] }
