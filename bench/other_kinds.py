"""Pictures of kinds that no training picture was of, painted by code: what users also give as references."""

import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def clouds(height: int, width: int, scale: int, rng: np.random.Generator) -> np.ndarray:
    coarse = rng.standard_normal((max(3, height // scale + 2), max(3, width // scale + 2)))
    smooth = Image.fromarray(coarse.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth)


def picture(x: np.ndarray) -> Image.Image:
    return Image.fromarray((x.clip(0, 1) * 255).astype(np.uint8))


def photograph() -> Image.Image:
    """Ridges in haze under an evening sky, a little soft, with a sensor's noise."""
    rng, height, width = np.random.default_rng(1), 800, 1200
    down = np.linspace(0, 1, height)[:, None] + np.zeros((height, width))
    x = np.stack([0.95 - 0.5 * down, 0.65 - 0.2 * down, 0.45 + 0.2 * down], -1)
    haze = ((300, 0.5), (120, 0.25), (50, 0.12), (20, 0.06))
    x += 0.12 * sum(share * clouds(height, width, scale, rng) for scale, share in haze)[..., None]
    ridges = ((0.55, (0.45, 0.35, 0.42)), (0.68, (0.3, 0.22, 0.3)), (0.8, (0.13, 0.1, 0.16)))
    for near, (level, colour) in enumerate(ridges, 1):
        line = level + 0.06 * clouds(3, width, 150 // near, rng)[1] + 0.02 * clouds(3, width, 30, rng)[1]
        below = down > line[None]
        rock = np.array(colour) * (1 + 0.15 * clouds(height, width, 12, rng))[..., None]
        x = np.where(below[..., None], rock, x)
    return picture(x + 0.02 * rng.standard_normal((height, width, 1))).filter(ImageFilter.GaussianBlur(0.8))


def black_and_white_film() -> Image.Image:
    grey = np.asarray(photograph().convert("L")) / 255
    noise = np.random.default_rng(2).standard_normal(grey.shape)
    noise = sum(np.roll(noise, shift, (0, 1)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1))) / 2
    return picture((grey - 0.5) * 1.6 + 0.45 + 0.07 * noise).convert("RGB")


def oil_painting() -> Image.Image:
    """Dabs of three sizes with the photograph's colours, made stronger."""
    colours, rng = np.asarray(photograph()).astype(int), random.Random(3)
    canvas = Image.new("RGB", (1200, 800), (60, 50, 40))
    draw = ImageDraw.Draw(canvas)
    for size, count in ((60, 600), (30, 2500), (14, 6000)):
        for _ in range(count):
            x, y, angle = rng.randrange(1200), rng.randrange(800), rng.gauss(0.6, 0.4)
            red, green, blue = colours[y, x]
            mixed = np.array([1.2 * red - 20, 1.05 * green, 1.3 * blue - 10]) + [
                rng.gauss(0, 14) for _ in "rgb"
            ]
            dx, dy = np.cos(angle) * size, np.sin(angle) * size * 0.8
            fill = tuple(mixed.clip(0, 255).astype(int).tolist())
            draw.line([(x - dx, y - dy), (x + dx, y + dy)], fill=fill, width=size // 3)
    return canvas


def screenshot() -> Image.Image:
    canvas = Image.new("RGB", (1280, 800), "#f5f7fa")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle([0, 0, 1280, 60], fill="#2b6cb0")
    draw.rectangle([0, 60, 240, 800], fill="#e2e8f0")
    for row in range(9):
        draw.rectangle([20, 90 + row * 60, 180, 110 + row * 60], fill="#718096")
    for x, y in ((270 + column * 330, 100 + row * 330) for row in range(2) for column in range(3)):
        draw.rectangle([x, y, x + 300, y + 300], fill="white", outline="#cbd5e0", width=2)
        draw.rectangle([x + 20, y + 20, x + 160, y + 40], fill="#2d3748")
        for line in range(6):
            draw.rectangle(
                [x + 20, y + 70 + line * 28, x + 270 - (line * 37) % 90, y + 80 + line * 28], fill="#a0aec0"
            )
        draw.rectangle([x + 180, y + 250, x + 280, y + 285], fill="#ed8936")
    return canvas


def flat_poster() -> Image.Image:
    canvas = Image.new("RGB", (900, 1200), "#f4e3c1")
    draw = ImageDraw.Draw(canvas)
    draw.ellipse([250, 150, 650, 550], fill="#d1495b")
    draw.polygon([(0, 900), (300, 500), (600, 900)], fill="#00798c")
    draw.polygon([(350, 950), (650, 450), (900, 950)], fill="#30638e")
    draw.rectangle([0, 880, 900, 1200], fill="#edae49")
    return canvas


def neon_lights() -> Image.Image:
    rng, tubes = random.Random(5), Image.new("RGB", (1000, 1000))
    draw = ImageDraw.Draw(tubes)
    for _ in range(14):
        x, y, r = rng.randrange(1000), rng.randrange(1000), rng.randrange(40, 160)
        draw.ellipse(
            [x - r, y - r, x + r, y + r], outline=rng.choice(["#ff2bd6", "#25f4ee", "#7a5cff"]), width=10
        )
    glow = np.asarray(tubes.filter(ImageFilter.GaussianBlur(24))).astype(int)
    return picture((np.array([11, 3, 32]) + np.asarray(tubes) + glow) / 255)


OTHER_KINDS = (photograph, black_and_white_film, oil_painting, screenshot, flat_poster, neon_lights)
