-- Text from outside is as long as who made it liked; an entry of a b-tree has 2,704 bytes. A scan that met a longer one
-- would be lost whole.

-- Equality, and one row a URI, by hashes.
ALTER TABLE locations DROP CONSTRAINT locations_uri_key;
ALTER TABLE locations ADD CONSTRAINT locations_uri EXCLUDE USING hash (uri WITH =);
-- Ranges by the beginning, 600 characters of four bytes at most (../../ranges.py).
CREATE INDEX locations_by_uri ON locations (substr(uri, 1, 600));

-- A host's name that can be looked at fits (../../expected.py).
DROP INDEX locations_by_server_name;
CREATE INDEX locations_by_server_name ON locations (substr(uri, instr(uri, '?sni=') + 5))
    WHERE uri BETWEEN 'tls:' AND 'tls;' AND instr(uri, '?sni=') > 0 AND length(uri) <= 600;

-- Owners come from labels.
DROP INDEX judgements_by_owner;
CREATE INDEX judgements_by_owner ON judgements USING hash (owner) WHERE owner <> '';
