-- What a page of a list is walked for: the names of one certificate, and the certificates of one issuer.
CREATE INDEX names_by_certificate ON names (certificate);
CREATE INDEX certificates_by_issuer ON certificates (issuer, not_after);

-- How many there are: see totals.py.
INSERT INTO meta SELECT 'certificates', count(*) FROM certificates;
INSERT INTO meta SELECT 'locations', count(*) FROM locations;
