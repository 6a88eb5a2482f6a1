FROM alpine:3.20
ARG V=1
ADD --checksum=sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd https://files.example/$V.tgz /
ADD --keep-git-dir=true https://git.example/x.git#$V /x
ADD git@git.example:x/y.git /y
ADD local-$V.txt /
