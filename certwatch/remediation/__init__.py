"""From a finding to a new certificate that is proven to be served. Nothing changes in the world without a policy.

book.py        what was planned, approved and done: survives every crash
affected.py    a certificate that must go, with every place where it is
policy.py      what may be done about it, by the config
plan.py        steps, in order: values only
approve.py     people say yes
issue.py       a certificate for a key that was made where it will live, or here
apply.py       the steps, one after the other, each of which may be taken again
verify.py      looks until every place serves the new one
rollback.py    the former one is put back
running.py     all that, by itself, in the daemon
gate.py        nothing is written while a server reads it
again.py       collectors look again, and not a thousand times
drills/        exercises in staging
issuers/       who signs
deployers/     how it gets where it is served
"""
