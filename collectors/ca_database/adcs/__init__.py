"""Active Directory Certificate Services, by exports of its database that `certutil -view … csv` writes."""
