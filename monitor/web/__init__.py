"""The pages and the JSON API of the service. They read through the store's queries; no GET changes state."""
