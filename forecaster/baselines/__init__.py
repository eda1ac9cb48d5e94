"""What a network has to beat, fitted by statsmodels."""
