-- What a page of a list is walked for: the certificates of one issuer.
CREATE INDEX certificates_by_issuer ON certificates (issuer, not_after);
