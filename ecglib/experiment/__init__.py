"""Parameters in; a trained, scored and recorded run out."""
