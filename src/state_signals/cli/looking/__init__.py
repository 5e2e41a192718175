"""How what lies on a server is shown: exporters as they are, and runs as they were."""
