FROM scratch
ARG A=1
ARG B=${A:+$NONE}x
COPY a-$A.txt b-$B.txt /
LABEL a=$A b=$B
