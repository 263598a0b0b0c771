"""Who signs: plug-ins (`certwatch.plugins.issuer`)."""
