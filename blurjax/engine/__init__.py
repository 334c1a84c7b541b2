"""Many trials in one program: a sweep over trials, a loop over steps, meshes, random keys. Knows nothing of images."""
