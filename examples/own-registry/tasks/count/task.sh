# Counts the files of the image.
find / -xdev -type f | wc -l
