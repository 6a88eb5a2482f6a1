FROM alpine:3.20
ARG A=1
COPY <<one <<"two" real.txt /dir/
FROM no:1 $A
one
FROM no:2 $A
two
ADD <<three /three
ARG A=no
three
