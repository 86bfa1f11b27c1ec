type Numbers = Int32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint8Array<ArrayBuffer>

/** A longer copy; what there is more of is 0. */
export function growArray<Some extends Numbers>(array: Some, length: number): Some {
  const larger = new (array.constructor as new (length: number) => Some)(length)
  larger.set(array)
  return larger
}
