/// Bones of the phantom.
extension PhantomAnatomy {
  @inline(__always) private func fraction(_ value: Float) -> Float { value - value.rounded(.down) }

  /// HU of bone and of the muscle that belongs to it, or nil. `wallPart`: 0 to 1 across the body wall.
  @inline(__always) func skeleton(_ p: BodyPoint, wallPart: Float) -> Float? {
    let side = p.x.magnitude
    if side < 48, p.y > 24, let bone = spine(p, side) { return bone }
    if wallPart > 0.2, wallPart < 0.85, let rib = rib(p, side, wallPart) { return rib }
    if p.z < -88, let bone = pelvis(p, side) { return bone }
    // The long muscles of the back, beside the spine.
    let (mx, my) = ((side - 36) / 31, (p.y - 86) / 22)
    return mx * mx + my * my < 1 && wallPart > 0 ? muscleHU : nil
  }

  @inline(__always) private func spine(_ p: BodyPoint, _ side: Float) -> Float? {
    let sacrum = min(max(-112 - p.z, 0), 90)
    let y = p.y - 0.28 * sacrum
    let (bx, by) = (p.x / (23 + 0.3 * sacrum), (y - 44) / 17)
    let body = bx * bx + by * by
    let level = fraction(p.z / 35 + vertebraPhase)
    let isDisc = level > 0.78 && sacrum == 0
    if body < 1 {
      if isDisc { return 85 }
      return body > 0.78 || level > 0.72 && sacrum == 0 || level < 0.05 ? boneHU + 200 : boneHU
    }
    let (cx, cy) = (p.x / 11, (y - 71) / 8.5)
    let canal = cx * cx + cy * cy
    if canal < 1 { return 28 }
    if canal < 2.4, !isDisc { return boneHU + 240 }
    if side < 4, y > 78, y < 104, level > 0.1, level < 0.62 { return boneHU + 120 }
    return (y - 69).magnitude < 5 && side > 14 && side < 40 && level > 0.2 && level < 0.5 ? boneHU + 100 : nil
  }

  @inline(__always) private func rib(_ p: BodyPoint, _ side: Float, _ wallPart: Float) -> Float? {
    // The lower edge of the ribs rises towards the front.
    if p.z < -38 + 0.95 * max(0, -p.y) { return nil }
    if p.y < -60, side < 24 { return p.z > 95 ? boneHU : nil }
    let level = fraction((p.z - 0.45 * p.y) / 27 + ribPhase)
    if level > 0.42 { return nil }
    return wallPart > 0.35 && wallPart < 0.7 && level > 0.1 && level < 0.32 ? boneHU : boneHU + 260
  }

  /// The wings of the hip bones and the heads of the femurs.
  @inline(__always) private func pelvis(_ p: BodyPoint, _ side: Float) -> Float? {
    let (wy, wz) = ((p.y - 22) / 62, (p.z + 168) / 78)
    if wy * wy + wz * wz < 1 {
      let bow = (p.y - 12) * (p.y - 12) * 0.006
      let plate = (side - 70 - 0.36 * (p.z + 200) + 0.3 * (p.y - 12) + bow).magnitude
      if plate < 3 { return boneHU }
      if plate < 6 { return boneHU + 260 }
    }
    let (hx, hy, hz) = (side - 88, p.y - 4, p.z + 206)
    let head = hx * hx + hy * hy + hz * hz
    return head < 529 ? (head > 400 ? boneHU + 260 : boneHU + 80) : nil
  }
}
