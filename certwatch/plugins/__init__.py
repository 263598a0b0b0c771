"""The promises between the core and what is plugged into it: collectors, rules, exporters."""
