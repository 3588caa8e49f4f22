/* Sends audio through G.729 Annex A and back: 16-bit samples of 8 kHz from stdin to stdout. Built by scripts/tone-corpus with
 * libbcg729, which no part of Nearend links. */
#include <bcg729/decoder.h>
#include <bcg729/encoder.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define FRAME 80

int main(void) {
    bcg729EncoderChannelContextStruct *encoder = initBcg729EncoderChannel(0);
    bcg729DecoderChannelContextStruct *decoder = initBcg729DecoderChannel();
    int16_t frame[FRAME];
    size_t samples;
    if (!encoder || !decoder) return 1;
    while ((samples = fread(frame, sizeof frame[0], FRAME, stdin)) > 0) {
        uint8_t bits[10], length = 0;
        memset(frame + samples, 0, (FRAME - samples) * sizeof frame[0]);
        bcg729Encoder(encoder, frame, bits, &length);
        bcg729Decoder(decoder, bits, length, 0, 0, 0, frame);
        if (fwrite(frame, sizeof frame[0], samples, stdout) != samples) return 1;
    }
    closeBcg729EncoderChannel(encoder);
    closeBcg729DecoderChannel(decoder);
    return fflush(stdout) != 0;
}
