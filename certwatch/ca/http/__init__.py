"""The CA over HTTP: what relying parties fetch, and what requesters ask. Served by the daemon, apart from its pages."""
