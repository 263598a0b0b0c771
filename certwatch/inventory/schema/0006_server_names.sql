-- Which endpoints are looked at by a name: for hosts that are expected.
CREATE INDEX locations_by_server_name ON locations (substr(uri, instr(uri, '?sni=') + 5))
    WHERE uri BETWEEN 'tls:' AND 'tls;' AND instr(uri, '?sni=') > 0;
