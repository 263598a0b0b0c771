"""CAs that are asked over HTTP: Vault and OpenBao, EJBCA, Dogtag."""
