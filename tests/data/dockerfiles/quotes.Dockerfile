ARG IMAGE='alpine' TAG="3"'.'20
FROM "$IMAGE":'3.20' AS one
FROM "alpine":$TAG
ARG SINGLE='$TAG "x"' DOUBLE="a 'b' \"c\" \$d"
LABEL single=$SINGLE double="$DOUBLE" both="a"'b'c
COPY --"from=one" /etc/base /base
