"""Parts shared by vision halves: towers with merging, image and video processors."""
