FROM alpine:3.20
ARG A=1
LABEL "with blank"="a b" eq=a=b=c multi="one\
 two" dot.ted=x
LABEL version=$A \
      a="$A" b='$A'
MAINTAINER  Somebody <x@y.example>, $A
