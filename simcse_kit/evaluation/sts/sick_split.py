"""Which of the 9,927 pooled SICK pairs are the 4,927 test pairs.

The hub has SICK at a revision one can pin only as MTEB's pool of train, trial and test, without
a split column (the datasets that keep a split hold another release, with 4,906 test pairs, or
need a loading script). SimCSE and SentEval score the test pairs. So this file keeps one bit for
each pair of the pool, and the digest of the pool those bits were made for: a pool with any other
content is refused, never split by guess. Neither depends on the order of the rows.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from simcse_kit.errors import InputError

Row = tuple[str, str, float]  # sentence A, sentence B, relatedness

# Made by `describe_split` from the SemEval-2014 files SICK_train, SICK_trial, SICK_test_annotated.
POOL_DIGEST = "a76a925559a9437afead59cbc186079816fa4339864dc339f5ea236fa31ee183"
TEST_BITS = (
    "4(Y>CGvJ`UoVrt?G@^=zU=1k6u(P8Hr+i!u|C~kna{8G@?-b3t8N1YSwrA3Kza$P+Hxi{$14HyIu;G$Eouu8i|B5idBR"
    "d>*JEU>PqLJHY{6Z%n<?&DZjo|->;1@0Dx4|{iG$`M(u^TwXC7nYbz+8!|Y5xCx{IZ&2M&?IR#zGL|!Yw+fv>R8dQrLt"
    "^8nBsxk-HPcmz%{qx5>L07x<XLd6&(rISwFtf3UEdE>7Y`6LsMiB5F?CoxjR12s@t6eq{azER-KBe<^jArwF=W^;k)HR"
    "1Hn*B|50W$Cg=@K49e#nA%`@*MQ_3Dh?ZS8b|^5D&jg|@&loybgr1+4#`71_S>c-)eOT9xD^$61Q?$%nEqIT-fs&nJ)9"
    "CXBm^3k>EZ5~fh?A<xG(zv4fI3MCv~t`nI2PQX??ToE_p*%*D@*K35bP_>CuVZ$jc4;2&hcAf1j)R2x%scv)uw(MmT}`"
    "x2*P9DsE!7qHcneSf1hx#KLLRh9<BKM3`Un!MvmWcqZ8i0S&$VMIJ`N(pf^QfNDO~Q&<u<AKN;dp>u?rE#R&>sO$F+{U"
    "FA`=FPFmRYT5AxSbj_>J%#=IYY~_H*e@yvdGekFej8C2F)*f%+#=#fyV^XY~sEa5S*}R)ghl#O5es@^E3&UpF~RitqHn"
    "skfg6cItc6{C%Tfn2kEB8W9<KZJ{&G!$R*C)t})u2L+*SAke;h0TyM^<nLxX)gyV^brS}@yVnWVqx<9ve%m^R<n{|q0|"
    "Dx~Q8WDsIc{$o@qRPM*_tjw<i@QK-L=`8?$N^W2wP{@msgA5g0klm=ANOT+YO|}9uwDscB@7%UR;R&Q)Jrk|M0i$&`AG"
    "F?E=A*BzD|QV=c4WH8AOH`zw`YLmysPnLZY7@sxw@7{E+7qMy<GO3CxA0@{S2yE88Qle#VeJ1q<cFQ6seKBCiUH4#zzE"
    "b_5^@SNtzU^KgfnsiWkP?vNeOxm6c1uCj)sXDTq=$<sUN67tcZu;jX)qPs(`y|@@DsQ%P;>28i&1J5ftOg5R}(ka=$ee"
    "gO|kxFVH+EHArfLDgP73tVXmdR8+p)y1?Cv!P@ORN<i0i?Z9ydOV$(NKW@@y8vp_?twVtP_+%PPX=R6e-|#PPy@>?OJF"
    "D6>JGLUu}*i+~WLNoV}}pT62K#(tHVP0jY`fRLg*lT#aqy@mNJ>K~b2Kn+oDL2q0&To0v|K#<K+D<a5U!X>TT&><}LYc"
    "KEWqsQin{mBO{VrJ*jRy_Vw6q1XB-T4tnfgzo7q03lidDNv2S6hOG)pWPhzHNUihPeeaX{8!mOpO}|2<3sO?02Rw5iQm"
    "8Cla#^AcqO<QB&k`eq^;*`jq1sUn|X32+OKhTU_$n*Kr+P*rJCQPGtMT*`YyxWGSj1}3xvx)O_cgHGo()bB1IDc7id8c"
    "s~|QX9y54My`s1NgcRKUM@sN&DT1F*ysS?8R^b_hJ~Y$inWry3t2`OAH)}p2;4`y(=-kSxPC&qCO~B1@mBU|al4vGv;f"
    "wjiBZ<8v=?|)ZP$kPIHrjvG-8G;EWf+{b-)9xe?Urt`X)42+k|w8WeW1?YBb_uxEIXI1*DBp5kDPWL$^"
)


def test_rows(pool: Sequence[Row], digest: str = POOL_DIGEST, bits: str = TEST_BITS) -> np.ndarray:
    """The row numbers of `pool`, in its own order, that are SICK test pairs.

    Raises InputError where the content of `pool` is not that of the digest.
    """
    order = _canonical_order(pool)
    if _digest(pool, order) != digest:
        raise InputError(
            f"The pool of {len(pool)} SICK pairs is not the one whose split is known, so its test"
            " pairs cannot be told apart: give a local SentEval folder with --data-dir, or ask"
            " for SICKR-MTEB, which scores the whole pool."
        )
    packed = np.frombuffer(base64.b85decode(bits), dtype=np.uint8)
    in_test = np.unpackbits(packed, count=len(pool)).astype(bool)
    return np.sort(order[in_test])


def describe_split(pool: Sequence[Row], test: Sequence[Row]) -> tuple[str, str]:
    """The digest of `pool` and the bits that `test_rows` needs to find `test` in it again.

    Rows are compared by value, so a pair that is in train and in test alike is marked once.
    """
    order = _canonical_order(pool)
    left = Counter(_key(row) for row in test)
    in_test = np.zeros(len(pool), dtype=bool)
    for position, index in enumerate(order):
        key = _key(pool[index])
        if left[key] > 0:
            left[key] -= 1
            in_test[position] = True
    return _digest(pool, order), base64.b85encode(np.packbits(in_test).tobytes()).decode()


def _key(row: Row) -> str:
    first, second, score = row
    # Four digits: the scores have three, and a float32 copy of them must give the same key.
    return f"{' '.join(first.split())}\t{' '.join(second.split())}\t{score:.4f}"


def _canonical_order(pool: Sequence[Row]) -> np.ndarray:
    keys = [_key(row) for row in pool]
    return np.array(sorted(range(len(pool)), key=keys.__getitem__), dtype=np.int64)


def _digest(pool: Sequence[Row], order: np.ndarray) -> str:
    return hashlib.sha256("\n".join(_key(pool[i]) for i in order).encode()).hexdigest()
