/// A point in body coordinates: adult millimetres, x to the left, y to the back, z up, origin between the kidneys.
struct BodyPoint {
  var x: Float
  var y: Float
  var z: Float
}

/// Sine of `turns` whole turns, to about 0.001: the anatomy asks for a few per voxel.
@inline(__always) func waveOf(_ turns: Float) -> Float {
  let rounder: Float = 12_582_912  // 1.5 * 2^23: adding and taking it away rounds to a whole number
  let part = turns - ((turns + rounder) - rounder)
  let parabola = part * (8 - 16 * part.magnitude)
  return parabola * (0.775 + 0.225 * parabola.magnitude)
}

/// A smooth blob: 1 on its surface, smaller inside. Between an ellipsoid and a rounded box.
struct BodyBlob {
  var centre = BodyPoint(x: 0, y: 0, z: 0)
  /// Rows: the blob's own axes divided by its semi-axes.
  var m0 = BodyPoint(x: 1, y: 0, z: 0)
  var m1 = BodyPoint(x: 0, y: 1, z: 0)
  var m2 = BodyPoint(x: 0, y: 0, z: 1)
  /// 0 ellipsoid, 1 box with very round corners.
  var squareness: Float = 0
  /// Radius of a ball around the centre that holds the blob.
  var reach: Float = 0

  @inline(__always) func value(_ p: BodyPoint) -> Float {
    let (x, y, z) = (p.x - centre.x, p.y - centre.y, p.z - centre.z)
    let u = m0.x * x + m0.y * y + m0.z * z
    let v = m1.x * x + m1.y * y + m1.z * z
    let w = m2.x * x + m2.y * y + m2.z * z
    let (u2, v2, w2) = (u * u, v * v, w * w)
    let round = u2 + v2 + w2
    let square = u2 * u2 + v2 * v2 + w2 * w2
    return round + squareness * (square - round)
  }

  @inline(__always) func isNear(_ p: BodyPoint) -> Bool {
    let (x, y, z) = (p.x - centre.x, p.y - centre.y, p.z - centre.z)
    return x * x + y * y + z * z < reach * reach
  }
}

/// Minimum of two blobs with a rounded seam of width `k`.
@inline(__always) func smoothUnion(_ a: Float, _ b: Float, _ k: Float) -> Float {
  let h = max(k - (a - b).magnitude, 0) / k
  return min(a, b) - h * h * k * 0.25
}

/// An organ: one to three blobs grown together, a bite taken out of it, and gentle lumps on its surface.
struct BodyOrgan {
  let kind: PhantomOrganKind
  var present = true
  var hounsfield: Float = 0
  var blobs = (BodyBlob(), BodyBlob(), BodyBlob())
  var blobCount = 1
  /// Taken out (the kidney's sinus).
  var bite: BodyBlob?
  var lump: Float = 0
  var lumpWave = BodyPoint(x: 0, y: 0, z: 0)
  var lumpPhase: Float = 0

  init(_ kind: PhantomOrganKind) { self.kind = kind }

  /// Below 1 inside.
  @inline(__always) func value(_ p: BodyPoint) -> Float {
    var result: Float = 9
    if blobs.0.isNear(p) { result = blobs.0.value(p) }
    if blobCount > 1, blobs.1.isNear(p) { result = smoothUnion(result, blobs.1.value(p), 0.35) }
    if blobCount > 2, blobs.2.isNear(p) { result = smoothUnion(result, blobs.2.value(p), 0.35) }
    if result > 1.6 { return result }
    if let bite, bite.value(p) < 1 { return 2 }
    return result + lump * waveOf(lumpWave.x * p.x + lumpWave.y * p.y + lumpWave.z * p.z + lumpPhase)
  }

  /// Whether a line (a point on it and its unit direction) may meet the organ, with `margin` to spare.
  func mayMeet(line start: BodyPoint, _ direction: BodyPoint, margin: Float) -> Bool {
    func near(_ blob: BodyBlob) -> Bool {
      let (x, y, z) = (blob.centre.x - start.x, blob.centre.y - start.y, blob.centre.z - start.z)
      let along = x * direction.x + y * direction.y + z * direction.z
      let away = x * x + y * y + z * z - along * along
      return away < (blob.reach + margin) * (blob.reach + margin)
    }
    return near(blobs.0) || blobCount > 1 && near(blobs.1) || blobCount > 2 && near(blobs.2)
  }
}
