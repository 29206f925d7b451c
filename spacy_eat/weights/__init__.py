"""From a package or hub to a model that is ready to load; and the models that come with this package."""
