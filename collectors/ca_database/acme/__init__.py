"""What ACME clients keep up: their folders and files, the settings of renewal included. Private keys are never opened."""
