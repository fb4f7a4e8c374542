"""Images and videos to visual tokens: the store first, else threads and the vision tower."""
