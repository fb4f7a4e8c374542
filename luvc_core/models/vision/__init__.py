"""What vision halves of several families share: towers with merging, media processors."""
