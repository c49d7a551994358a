"""Building the images of a cluster from package mirrors alone, where no image registry can be reached."""
