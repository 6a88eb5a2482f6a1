FROM alpine:3.20 aS One
FROM alpine:3.19 As TWO.x-y_z
FROM one as three
COPY --from=Two.X-Y_Z /etc/base /base
