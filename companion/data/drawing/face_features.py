"""The parts of a drawn face: relief, mouth, eyes, brows, nose, wrinkles, glasses."""

import torch
from torch import Tensor

from companion.data.drawing.face_canvas import EYES, MOUTH, Head, bump, fill, line, over, step


def spacing(head: Head) -> Tensor:
    """How far from the axis of the face its eyes are."""
    return head.between("eye_spacing", 0.155, 0.20) * head["wide"] / 0.395


def years(head: Head) -> Tensor:
    """What age does to a face, 0..1."""
    return (head["age"] + 1) / 2


def nose_tip(head: Head) -> Tensor:
    """The height of the tip of the nose."""
    return head.between("nose_length", 0.11, 0.21)


def mouth_reach(head: Head) -> Tensor:
    """Half the width of the mouth; a smile draws it out."""
    return head.between("mouth_width", 0.105, 0.165) * (1 + 0.30 * head["smile"].clamp(min=0))


def nose_axis(head: Head) -> Tensor:
    """The place across the nose; it stands out, so a turn moves it more than the face."""
    rise = step(head.y, -0.05, nose_tip(head))
    return head.u - 0.09 * head["turn"].sin() * rise


def emboss(head: Head, z: Tensor) -> None:
    """Add to the height z (n, S, S) of a smooth head what stands out, in units."""
    old, e, tip = years(head), spacing(head), nose_tip(head)
    cheerful = head["smile"].clamp(min=0)
    part = head.crop(-0.24, 0.12)
    y, side = part.y, part.u.abs()
    z[:, part.rows] -= 0.045 * bump((side - e) / 0.11, (y - EYES + 0.015) / 0.075)
    part = head.crop(-0.10, 0.30)
    y, side, u = part.y, part.u.abs(), nose_axis(part)
    broad = head.between("nose_width", 0.034, 0.060)
    along = ((y + 0.10) / (tip + 0.10)).clamp(0, 1)
    height = torch.where(y < tip, along * along.sqrt(), bump((y - tip) / 0.035))
    rise = 0.088 * height * bump(u / (broad * (0.75 + 0.35 * along)))
    rise += 0.026 * bump((u.abs() - 1.25 * broad) / (0.55 * broad), (y - tip + 0.005) / 0.028)
    cheek_y = 0.16 - 0.02 * cheerful + 0.04 * old
    rise += (0.022 + 0.03 * cheerful) * bump((side - 0.215) / 0.085, (y - cheek_y) / 0.085)
    z[:, part.rows] += rise
    part = head.crop(0.12, 0.54)
    y, u = part.y, part.u
    rise = 0.018 * bump(u / 0.16, (y - MOUTH) / 0.09)
    rise += 0.030 * bump(u / 0.085, (y - 0.44) / 0.055)
    rise -= 0.010 * bump(u / 0.07, (y - 0.385) / 0.022)
    z[:, part.rows] += rise - 0.022 * old * bump((u.abs() - 0.215) / 0.06, (y - 0.26) / 0.07)


def wrinkles(head: Head, dark: Tensor) -> None:
    """Add the lines of age and of smiling to dark (n, S, S)."""
    px, old, e = head.pixel, years(head), spacing(head)
    part = head.crop(-0.37, -0.22)
    y, side = part.y, part.u.abs()
    bend = 0.02 * (side / 0.2).square() + 0.006 * (side * 26).sin_() - y
    for k, high in enumerate((-0.335, -0.285, -0.24)):
        across = 1 - step(side, 0.13, 0.24 - 0.02 * k)
        dark[:, part.rows] += 0.75 * old * across * line(bend + high, 0.014, px)
    part = head.crop(-0.10, 0.10)
    y, side = part.y, part.u.abs()
    outer, low = side - e - 0.125, y - EYES
    reach = 0.8 * old * step(outer, -0.015, 0.01) * (1 - step(outer, 0.05, 0.08))
    for slope in (-0.55, 0.0, 0.5):  # crow's feet
        dark[:, part.rows] += reach * line(low - slope * outer, 0.011, px)
    off = (side - e).abs()
    sag = bump((low - 0.115 + 3.5 * off.square()) / 0.013)
    dark[:, part.rows] += 0.8 * old * (1 - step(off, 0.06, 0.11)) * sag
    part = head.crop(0.06, 0.46)
    y, side = part.y, part.u.abs()
    tip, mouth_wide = nose_tip(head), mouth_reach(head)
    t = ((y - tip) / (MOUTH + 0.06 - tip)).clamp(0, 1)
    run = 0.075 + (mouth_wide - 0.03) * t * (1.25 - 0.25 * t)
    ends = step(y, tip - 0.04, tip + 0.02) * (1 - step(y, 0.33, 0.39))
    strong = (0.85 * old + 0.35 * head["smile"].clamp(min=0)).clamp(max=1)
    dark[:, part.rows] += strong * ends * bump((side - run) / 0.017)
    jowl = step(y, 0.33, 0.37) * (1 - step(y, 0.42, 0.46))
    line_ = bump((side - mouth_wide - 0.02 - 0.25 * (y - 0.36)) / 0.013)
    dark[:, part.rows] += 0.6 * old * jowl * line_


def brows(head: Head) -> Tensor:
    """Cover the eyebrows."""
    side, thick = head.u.abs(), head.between("brow_thickness", 0.018, 0.055)
    s = (side - spacing(head)) / 0.125
    arch = head.between("arch", 0.010, 0.032)
    high = EYES - 0.135 - 0.3 * thick - arch * (1 - s**2)
    high = high + 0.032 * head["brow_angle"] * (-s) - 0.012 * head["eye_size"]
    taper = (1 - 0.55 * step(s, -0.2, 1.0)) * step(1.12 - s.abs(), 0.0, 0.22)
    return line(head.y - high, thick * taper, head.pixel) * (s.abs() < 1.12)


def eyes(head: Head, face: Tensor, shade: Tensor) -> Tensor:
    """Draw the eyes with their lids over a face that is painted and lit already."""
    px, size = head.pixel, head.between("eye_size", 0.082, 0.112)
    dx, dy = head.u.abs() - spacing(head), head.y - EYES
    dy = dy + 0.05 * dx * 1.6  # outer corners a little higher
    open_ = head.between("eye_openness", 0.22, 0.68) * size
    s, cheerful = dx / size, head["smile"].clamp(min=0)  # cheeks push up the lower lids
    vault = 1 - s.square()
    upper, lower = dy + 0.98 * open_ * vault, dy - (0.62 - 0.3 * cheerful) * open_ * vault
    white = fill(torch.maximum(-upper, lower))
    gaze = 0.42 * size * head["gaze"] * head.u.sign()
    iris_r = 0.50 * head.between("eye_size", 0.088, 0.106)
    r = ((dx - gaze).square() + (dy + 0.08 * open_).square()).sqrt()
    iris = line(r, 2 * iris_r, px)
    tone = head.between("iris", 0.16, 0.50)
    ball = 0.97 - 0.30 * bump(upper / (0.35 * open_ + 0.02))
    ball = over(ball, iris, tone * (0.62 + 0.5 * step(r, 0.2 * iris_r, 0.9 * iris_r)))
    ball = over(ball, line(r - iris_r, 0.014, px), 0.6 * tone)
    ball = over(ball, line(r, 0.95 * iris_r, px), 0.03)
    glint_x = (head.u - head.u.sign() * (spacing(head) + gaze)) - 0.016 * head["light"].sign()
    glint = (glint_x.square() + (dy + 0.08 * open_ + 0.017).square()).sqrt()
    ball = over(ball, line(glint, 0.026, px), 1.0)
    face = over(face, white, ball * (0.55 + 0.45 * shade.clamp(max=1.1)))
    near = (s.abs() < 1.25).double()
    crease = line(upper + 0.035 + 0.02 * vault, 0.011, px) * step(1.1 - s.abs(), 0, 0.4)
    face = over(face, 0.35 * crease * near, 0.12)
    lash = (0.012 + head.between("lashes", 0.008, 0.022) * step(s, -0.8, 0.9)) * near
    face = over(face, 0.92 * line(upper, lash, px) * step(1.16 - s.abs(), 0, 0.12), 0.05)
    return over(face, 0.38 * line(lower, 0.010, px) * step(1.0 - s.abs(), 0, 0.35), 0.10)


def nostrils(head: Head) -> Tensor:
    """How dark the underside of the nose is, 0..1."""
    broad = head.between("nose_width", 0.034, 0.060)
    u, below = nose_axis(head), head.y - nose_tip(head)
    hole = bump((u.abs() - 0.72 * broad) / (0.42 * broad), (below - 0.026) / 0.013)
    side = u.abs() - 1.9 * broad + 9.0 * (below - 0.004).square()
    wing = bump(side / 0.013, (below - 0.002) / 0.028)
    under = bump(u / (1.35 * broad), (below - 0.037) / 0.016)
    return (0.85 * hole + 0.30 * wing + 0.28 * under).clamp(0, 1)


def mouth(head: Head, albedo: Tensor, skin: Tensor) -> Tensor:
    """Draw lips, teeth and what is between them over the painted skin."""
    px, wide = head.pixel, mouth_reach(head)
    s = head.u / wide
    vault = (1 - s.square()).clamp(min=-1)
    curve = MOUTH + (0.008 + 0.072 * head["smile"]) * (0.42 - s.square().clamp(max=1.7))
    gape = head.between("mouth_open", 0.0, 0.115) + 0.05 * head["smile"].clamp(min=0)
    full = head.between("lips", 0.75, 1.25) * (1 - 0.3 * years(head))
    d = head.y - curve
    closed = vault.clamp(min=0)
    upper, lower = d + 0.30 * gape * vault, d - 0.70 * gape * vault
    bow = 0.030 * full * (vault - 0.28 * bump(s / 0.16))
    lips = fill(torch.maximum(-upper - bow, lower - 0.042 * full * vault))
    inside = fill(torch.maximum(-upper, lower)) * step(gape, 0.002, 0.02)
    lit = 0.10 * bump((lower - 0.018) / 0.012, s / 0.45)
    albedo = over(albedo, lips, skin * (0.70 - 0.08 * (d < 0) + lit))
    teeth = line(upper - 0.008 - 0.10 * gape, 0.018 + 0.20 * gape, px) * step(gape, 0.01, 0.035)
    tongue = bump(s / 0.5, (lower + 0.006) / 0.020) * 0.28
    hole = over(0.07 + tongue, teeth * step(0.95 - s.abs(), 0, 0.2), 0.92)
    albedo = over(albedo, inside, hole)
    seam = line(torch.where(gape > 0.012, d + 0.30 * gape * closed, d), 0.014, px) * step(
        1.06 - s.abs(), 0, 0.1
    )
    albedo = over(albedo, 0.85 * seam, 0.16 * skin)
    corner = bump((s.abs() - 1.04) / 0.10, d / 0.016)
    return over(albedo, 0.55 * corner, 0.25 * skin)


def glasses(head: Head, picture: Tensor) -> Tensor:
    """Put glasses on the faces that wear them."""
    px, worn = head.pixel, head["glasses"]
    e = spacing(head) + 0.008
    dx, dy = head.u.abs() - e, head.y - EYES - 0.012
    half = torch.minimum(e - 0.022, torch.full_like(e, 0.158))
    tall = half * head.between("frame_shape", 1.0, 0.66)
    boxy = (head["frame_shape"] > 0.5).double()
    a, b = (dx / half).square(), (dy / tall).square()
    a, b = a * (1 - boxy) + a * a * boxy, b * (1 - boxy) + b * b * boxy
    rim = (a + b) ** 0.5 - 1
    thick = head.between("frame_width", 0.036, 0.056)
    lens = fill(rim)
    ring = lens - fill(rim + thick / half)
    bridge = line(dy + 0.02 + 1.2 * (head.u**2), 0.8 * thick, px) * (head.u.abs() < e - half)
    ahead = head["wide"] * 1.02 - head.x.abs()
    arm = line(dy + 0.035, 0.75 * thick, px) * step(dx, half - 0.01, half) * (ahead > 0)
    shine = step((dx * head.u.sign() - 0.8 * dy) / half, 0.1, 0.2) * head.between("lens", 0, 1)
    picture = over(picture, worn * lens * (0.12 + 0.10 * shine), 1.0)
    frame = torch.maximum(ring, torch.maximum(bridge, arm))
    tone = head.between("frame_tone", 0.02, 0.10)
    return over(picture, worn * frame, tone + 0.06 * bump((dy + 0.75 * tall) / 0.02))
