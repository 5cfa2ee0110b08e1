export const webby = true;
