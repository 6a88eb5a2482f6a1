FROM alpine:3.20
ARG A=1
ENV OLD  some words = "kept"
ENV NAME value with $A
ENV A=$A B=${A}x
LABEL old=$OLD name="$NAME"
