"""The recurrent forecaster: scaler, cell, head, training, checkpoint."""
