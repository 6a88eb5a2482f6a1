ARG V=3.20.1 EMPTY=
FROM alpine:${V%.*} AS a
FROM alpine:${V%%.*}${EMPTY:+x}${EMPTY+.20} AS b
FROM debian:${V#*.} AS c
FROM debian:${V##*.}${EMPTY:-2} AS d
FROM debian:${V/.20.1/} AS e
FROM debian:${V//./-}${EMPTY-x} AS f
