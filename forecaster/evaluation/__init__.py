"""Rolling origins, one set of lines for every forecaster."""
