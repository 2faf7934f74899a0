"""Small Parquet files of newer releases than the Arrow that reads logs here, with a row each: user = 1, and x."""

from __future__ import annotations

import base64
import pathlib
import zlib

# By the type or encoding of x: written by Arrow 26, but for int128 (Polars 2.1) and variant (DuckDB 2.0).
_FILES = {
    "byte_stream_split": (
        'c-jka3^EjD5S0;?(Gg_=GT21fWEdD2m_V43kpTh_3WRVdV3D*jWsqPiPR>ZpO%!DT3aBzku#^_37D1Sd6%1lbk}{GyY78<!#j0!!k`QT8ptz'
        'Wmn3EcZr;I4bA|?hKO*Tn2umv#1LXtoO;3~bqDuqx~inTC`F{yC?DFzLNg2bZ2($o^&<bnd-#G<17a)q+gqT<Z_JOv{&Jp(;MNgbdMK%UqR!'
        '~wtn0068GB6|'),
    "float16": (
        'c-n1`K?{OF5QWEOSv-lCSzOqImzDyR4D#e9Z*`LXfrwC0X=~R0xBgm(R=qm#V0e7Pn^zvrDFRBA5fZyFWD)?#D93?$tnZ`006>mZ<a-EMUtg'
        'Mgg%pskNI-|a(SROOB!OdYKTC5Wq=*zqd$M96W(cj%3tlMqC~*uTkZ+h!Q@{v&Gwhg&%y_0w3nVw3D3=>phh3$gL-UI3u8S+J+fVpzbboCh;'
        'Vw(INh%`y|5)K`RoeQ0g@z-)'),
    "int128": (
        'c-nnZ%}(1u5FT%>hy$u}U{+o!2VY`=u+n53>KJj^q)~}TQzxoggt$0$Y$!iQaUhh3;KYe1sCXS-f&&l1tW6LH#HZEH?9BIlGlvb-sDUPyvD`'
        '<70AN4?1YLBgSjG~T02mdS0Uyv58&E0>%RJ8}Qv}ZVKHqnwv!pdHx>^ITH4DoH@S~_gNm#~Zt{(7#b8CR8aEX#rpR!v62RcP2wzkb_n$FM!G'
        '^?zbN)~7%BL^}N72!J9M&+Hw_zlAqa2|;C=4}3-AqReEaONygSkX&Z%W5?G@q07-b1*pxtw-aN#+M^S=<2I=LGR1q^E)r?D3z&B9*1f@p#FT'
        'W>pi8CXI@Xoy1v@_`u>$jt>neD;I)fD=>MhudXX<isdiImp7y^=UPRw=Qn!;c+db`1v8(qX%nOg;CyD%5eu?S~wP{l9v;FI8Z?~tw8U*QaIL'
        '++UvwyRL^mNU>m`t<7^wgHMMy+nIj?WK|BioDpx*SKJ<2aID9JgfDXiBdY*8NcW8*waSFPucaToY~ufDYW#cL?a$JppdYeti'),
    "string_view": (
        'c-nPRO-sW-5S@e)dgyhREbO6|286a+(IOHLvoUJ?YzltfN(oUx+oskQ5B+EUBY%XmyQw+(V0Yinyqz~NJHTO&0h3I&nM=fDo&*3_FUJ83igU'
        '*Q5sX+(g!|xo^YL@`MmJ!!mh0CR^Q-{YAnL4IaH$`0S4hzgK+=<z2f~UN#kt}ts3($XFBifsPXxw8iyKz#tc)_`VQ^k4spdw@*W3;2d<{bS4'
        'IB<{?hkEG{*SY*(a({PqQwQ`5><{Th&e_kg-Rh_X%ZnOCQzMdsbyxrex;%ZMB>NT1Wl0`|DdVbEA??{ouW#0{Zqs-9#=_=G)Xs3RjZ}n+1=O'
        'EgUv*y&m7gVlxp0X{RsT#bX3e1*+*wQopwe=F<CZ0vts@-d2jCayF1;UXwy9ONWN)=1NsBMp{Qp@'),
    "uuid": (
        'c-n1{K?=e!5Je}U1Xu1RG>}C$28CE!L08@APFK<!6e%dEt*O->#Ort?58<@ki64d;K5zKU?AKX>fEu+!PJ=+90f2YK7z`rcq5A{GKf*wzO9('
        '}MI2M;21HfRy!=R}P4>(4HJY?<pL%WhIt(*l-D-!`~fRKE-ksCYOYV2Y;q%)yxAJ@U-0cLGaW-_z8Kcsvy$?b?5Oih*hTT|TUhpL+A-j`4FD'
        '13b?uV%4|;wVv$?&(f?Q|;*;UvvZ~I{'),
    "variant": (
        'c-nQ6&q~8U5XL9lSOUh<VrR)h4nb^)AR!4_tK_2e*hBFwl(bo}+N!iosc+)5_y9havm33kXh=5m&7a@y7c#uQjS;Yk%~NC))Ugg=KzWgFV53'
        'r~fi9A?(XQkfsE1S=+q-E)(U6JRIXDM-F?r0#qvhmY&NDOt%?>zbv6PF>F;IiC!TO!;9qJjIYSvt?vOHU5N-}3}oy`hKIEwdIuP-tm=}hMcI'
        '1{cI_~4=`5JX8uO7ny#zLh%Gx2>OuL-0qo)dJz7vZD+rqOFL5vDuzRb0Z%4SE*B@IlT~V8~@KJEoeZ<L;oS|vfWnp)mn9^2fDoLzZt1xs-u='
        'GZCX*kx8)xOXTC)*2!cL+`u>f#mW$=|`N>-+VHCz*FfOLE-0S5Ry*NITm(htBxB%N5-U&OTpX3u!t43J'),
}


def fixture(folder: pathlib.Path, kind: str) -> str:
  """Writes a file and returns its path."""
  path = folder / f"{kind}.parquet"
  path.write_bytes(zlib.decompress(base64.b85decode(_FILES[kind])))
  return str(path)
