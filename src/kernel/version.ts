/** Of the service, as it says of itself. */
export const version = '0.9.0'
