-- How many locations are live, and how many of them fail, without reading through them: few are retired or fail.
CREATE INDEX locations_retired ON locations (retired_at) WHERE retired_at IS NOT NULL;
CREATE INDEX locations_failing ON locations (failing_since) WHERE failing_since IS NOT NULL;
