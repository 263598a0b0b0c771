-- The fifth version: who made an external binding, and so stands behind what is asked with it.

ALTER TABLE acme_bindings ADD COLUMN made_by TEXT NOT NULL DEFAULT '';
