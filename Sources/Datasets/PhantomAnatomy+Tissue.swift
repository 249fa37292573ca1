/// What lies at a point of the body.
extension PhantomAnatomy {
  static let airHU: Float = -1000

  /// The body as a whole, moved and bent a little.
  @inline(__always) func bent(_ q: BodyPoint) -> BodyPoint {
    BodyPoint(
      x: q.x + bend.x * waveOf(q.y * bendRate.0 + q.z * bendRate.1 + bendPhase.x),
      y: q.y + bend.y * waveOf(q.z * bendRate.2 + q.x * bendRate.3 + bendPhase.y),
      z: q.z + bend.z * waveOf(q.x * bendRate.4 + q.y * bendRate.5 + bendPhase.z))
  }

  /// How far a bend can move a point.
  var bendReach: Float { (bend.x * bend.x + bend.y * bend.y + bend.z * bend.z).squareRoot() }

  /// Surely outside the body, before the bend is worked out.
  @inline(__always) func isFarOutside(_ q: BodyPoint) -> Bool {
    q.x.magnitude > halfWidth + 8 || q.y.magnitude > halfDepth + 8
      || outline(q) > 1.35
  }

  /// 1 on the skin, smaller inside; the waist is narrower.
  @inline(__always) private func outline(_ p: BodyPoint) -> Float {
    let t = min(max((p.z + 25) / 120, -1), 1)
    let waist = (1 - t * t) * (1 - t * t)
    let u = p.x / (halfWidth * (1 - 0.10 * waist))
    let v = p.y / (halfDepth * (1 - 0.04 * waist))
    let (u2, v2) = (u * u, v * v)
    return 0.55 * (u2 + v2) + 0.45 * (u2 * u2 + v2 * v2)
  }

  /// HU without noise, and the organ or 0. `q` is the point before bending, `organs` the candidates as bits.
  @inline(__always) func tissue(
    _ q: BodyPoint, _ organs: UnsafePointer<BodyOrgan>, candidates: UInt32
  ) -> (hu: Float, organ: Int) {
    if isFarOutside(q) { return (table(q), 0) }
    let p = bent(q)
    let form = outline(p)
    if form >= 1 { return (table(q), 0) }
    let shade = shading * waveOf(p.x * 0.0021 + p.y * 0.0027 + p.z * 0.0017 + shadingPhase)
    let root = form.squareRoot()
    let depth = (1 - root) * (p.x * p.x + p.y * p.y).squareRoot() / max(root, 0.05)
    let back = max(p.y / halfDepth, 0)
    let skin = fat * (1 + 0.35 * back)
    if depth < 2 { return (38 + shade, 0) }
    if depth < skin { return (fatHU + shade, 0) }
    let hips = min(max(-105 - p.z, 0), 90) * 0.22
    let thickness = wall + hips + 14 * back * back
    if let bone = skeleton(p, wallPart: (depth - skin) / wall) { return (bone + shade, 0) }
    if depth < skin + thickness { return (muscleHU + shade, 0) }
    let (hu, organ) = inside(p, organs, candidates)
    return (hu + shade, organ)
  }

  /// The table that the patient lies on.
  @inline(__always) private func table(_ q: BodyPoint) -> Float {
    let surface = halfDepth + 12 - q.x * q.x * 0.0006
    return q.y > surface && q.y < surface + 6 && q.x.magnitude < 200 ? -420 : Self.airHU
  }

  @inline(__always) private func inside(
    _ p: BodyPoint, _ organs: UnsafePointer<BodyOrgan>, _ candidates: UInt32
  ) -> (Float, Int) {
    if let chest = chest(p, organs, candidates) { return chest }
    var left = candidates
    while left != 0 {
      let place = left.trailingZeroBitCount
      left &= left - 1
      let value = organs[place].value(p)
      if value < 1, let hu = organHU(organs[place], p, value) { return (hu, organs[place].kind.rawValue) }
    }
    return (softTissue(p), 0)
  }

  @inline(__always) private func organHU(_ organ: BodyOrgan, _ p: BodyPoint, _ value: Float) -> Float? {
    switch organ.kind {
    case .stomach:
      if value > 0.8 { return 42 }
      return p.y < gasLevel ? -940 : organ.hounsfield
    case .rightKidney, .leftKidney: return value > 0.6 ? organ.hounsfield + 4 : organ.hounsfield - 4
    case .aorta: return p.z < -92 ? nil : organ.hounsfield
    default: return organ.hounsfield
    }
  }

  /// Lungs, heart and diaphragm; nil below the diaphragm.
  @inline(__always) private func chest(
    _ p: BodyPoint, _ organs: UnsafePointer<BodyOrgan>, _ candidates: UInt32
  ) -> (Float, Int)? {
    if p.z < -10 { return nil }
    let dome = diaphragm(p)
    if p.z < dome { return nil }
    if p.z < dome + 3 { return (muscleHU, 0) }
    let (hx, hy, hz) = ((p.x - 26) / 60, (p.y + 34) / 50, (p.z - 158) / 66)
    let heart = hx * hx + hy * hy + hz * hz
    if heart < 0.86 { return (bloodHU, 0) }
    if heart < 1 { return (fatHU + 20, 0) }
    let spineX = p.x / 34
    let spineY = (p.y - 42) / 34
    if spineX * spineX + spineY * spineY < 1 {
      if candidates & 1 != 0, organs[0].value(p) < 1 { return (organs[0].hounsfield, PhantomOrganKind.aorta.rawValue) }
      return (fatHU + 60, 0)
    }
    if (p.x - 4).magnitude < 16, p.y < 40 { return (fatHU + 30, 0) }
    let stir = waveOf(p.z * 0.013 + p.y * 0.009)
    let vessel = waveOf(p.x * 0.027 + p.z * 0.011 + 0.3 * stir) * waveOf(p.y * 0.033 - p.x * 0.012 - 0.4 * stir)
    return (vessel > 0.9 ? 20 : -855 + 40 * vessel, 0)
  }

  /// Height of the diaphragm: two domes that fall off steeply to the outside, gently to the middle.
  @inline(__always) private func diaphragm(_ p: BodyPoint) -> Float {
    let (right, left) = (p.x + 70, p.x - 74)
    let y = p.y > 0 ? p.y * p.y * 0.0125 : p.y * p.y * 0.0075
    let rightDome = domes.right - right * right * (right > 0 ? 0.0045 : 0.0115)
    let leftDome = domes.left - left * left * (left < 0 ? 0.0045 : 0.0115)
    return max(rightDome, leftDome) - y
  }

  /// What fills the belly between the organs: vessels, psoas, pancreas, bowel, fat.
  @inline(__always) private func softTissue(_ p: BodyPoint) -> Float {
    let (vx, vy) = (p.x + 24 - p.z * 0.03, p.y - 14)
    if p.z > -95, vx * vx + vy * vy < 150 { return bloodHU - 2 }
    let side = p.x.magnitude
    if p.z < -92 {
      let (ix, iy) = (side - 6 - 0.35 * (-92 - p.z), p.y - 12 + 0.15 * (-92 - p.z))
      if ix * ix + iy * iy < 49 { return bloodHU }
    }
    if p.z < 25 {
      let radius = min(25, 8 + 0.16 * (25 - p.z))
      let (sx, sy) = (side - 33 - 0.16 * max(0, -p.z), p.y - 46 - 0.3 * min(0, p.z + 60))
      if sx * sx + sy * sy < radius * radius { return muscleHU }
    }
    let (px, py, pz) = ((p.x - 12) / 62, (p.y + 14) / 15, (p.z - 18 - 0.15 * p.x) / 18)
    if px * px + py * py + pz * pz < 1 { return pancreasHU }
    let (cx, cy) = (side - 112, p.y - 14)
    if p.z < 12, p.z > -120, cx * cx + cy * cy < 400 {
      let content = waveOf(p.x * 0.021 + p.z * 0.017 + bowelPhase.x) + waveOf(p.y * 0.027 - p.z * 0.013 + bowelPhase.y)
      return cx * cx + cy * cy > 300 ? bowelHU : content > 1.1 ? -720 : bowelHU - 30 + 25 * content
    }
    if p.z < 30, p.y < 44 {
      let loops =
        waveOf(p.x * 0.014 + p.y * 0.005 + bowelPhase.x) + waveOf(p.y * 0.015 - p.z * 0.006 + bowelPhase.y)
        + waveOf(p.z * 0.013 + p.x * 0.006 + bowelPhase.z)
      if loops > 1.9 { return -600 }
      if loops > 0.1 { return bowelHU + 8 * loops }
    }
    return fatHU
  }
}
