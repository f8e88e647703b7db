"""What is wrong with the images and labels."""
