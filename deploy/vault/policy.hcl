# What the vault collector reads, of every PKI mount: `vault policy write certwatch policy.hcl`. One mount alone: its path in
# place of "+". Mounts whose path has a slash need their own lines.
path "sys/mounts" { capabilities = ["read"] }
path "+/issuers" { capabilities = ["list"] }
path "+/issuer/+/json" { capabilities = ["read"] }
path "+/certs" { capabilities = ["list"] }
path "+/certs/revoked" { capabilities = ["list"] }
path "+/cert/+" { capabilities = ["read"] }
path "+/config/urls" { capabilities = ["read"] }
path "+/config/crl" { capabilities = ["read"] }
path "+/config/auto-tidy" { capabilities = ["read"] }
path "+/tidy-status" { capabilities = ["read"] }
