# Prints the disk space that the image takes.
du -sx /
