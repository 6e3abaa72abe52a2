"""What training, serving and calling agree on: manifest, presence, statuses, errors, plug-ins."""
