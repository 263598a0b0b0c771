"""How a certificate gets where it is served: plug-ins (`certwatch.plugins.deployer`)."""
