"""The catalog: providers, models, endpoints and dated prices, read from YAML."""
