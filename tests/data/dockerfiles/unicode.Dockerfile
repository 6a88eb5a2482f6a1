# Größe
FROM alpine:3.20
ARG GRÖSSE=groß NAME="日本  語"
LABEL größe=$GRÖSSE name=$NAME emoji=🐳
